# What differs on machine 1 of three.

name      = "server-1"
bind_addr = "127.0.46.1"
