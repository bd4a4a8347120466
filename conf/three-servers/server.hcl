# One of three servers that share a catalogue in etcd: docs/scaling.md. This file is the same on each
# machine; server-1.hcl, server-2.hcl and server-3.hcl have the settings that differ.
#
#   plugind agent --config conf/three-servers/server.hcl --config conf/three-servers/server-1.hcl

# This server's own data: a copy of the history, which it can rebuild.
data_dir = "/var/lib/plugind"

# Whether log lines are JSON, for programs that collect logs.
# log_json = false

server {
  enabled = true

  # For all servers together: a node that none of them has heard from for this time is down.
  # heartbeat_ttl = "30s"

  # The number of this server's processes. Limits hold for each of them.
  # workers = 1

  # How many blocking queries may wait at once in a process; further ones are answered 429.
  # max_parked = 200
}

history {
  # keep = "720h"
}

# All servers name the same members and the same prefix. Between machines use TLS, and an etcd user
# that only plugind uses:
#
#   endpoints     = ["https://etcd-1:2379", "https://etcd-2:2379", "https://etcd-3:2379"]
#   ca_file       = "etcd-ca.pem"
#   username      = "plugind"
#   password_file = "etcd.password"
store "etcd" {
  endpoints = ["127.0.46.1:2379", "127.0.46.2:2379", "127.0.46.3:2379"]
  prefix    = "plugind"
}
