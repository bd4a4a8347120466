# What differs on machine 3 of three.

name      = "server-3"
bind_addr = "127.0.46.3"
