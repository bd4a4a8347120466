# The settings that differ on machine 2 of 3.

name      = "server-2"
bind_addr = "127.0.46.2"
