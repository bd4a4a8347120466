# What differs on machine 2 of three.

name      = "server-2"
bind_addr = "127.0.46.2"
