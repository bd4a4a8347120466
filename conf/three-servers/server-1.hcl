# The settings that differ on machine 1 of 3.

name      = "server-1"
bind_addr = "127.0.46.1"
