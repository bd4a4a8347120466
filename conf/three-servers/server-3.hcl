# The settings that differ on machine 3 of 3.

name      = "server-3"
bind_addr = "127.0.46.3"
