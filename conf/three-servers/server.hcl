# A server of three on one catalogue, which etcd keeps: docs/scaling.md. The same on each machine;
# server-1.hcl, server-2.hcl and server-3.hcl have what differs.
#
#   plugind agent --config conf/three-servers/server.hcl --config conf/three-servers/server-1.hcl

# Of this server alone: a copy of the history, which it can make again.
data_dir = "/var/lib/plugind"

# Lines of JSON, for programs that gather logs.
# log_json = false

server {
  enabled = true

  # Of all servers together: a node that none of them heard for so long is down.
  # heartbeat_ttl = "30s"

  # Processes of this server. Their limits are those of each.
  # workers = 1

  # How many blocking queries may wait at once in a process; more are answered 429.
  # max_parked = 200
}

history {
  # keep = "720h"
}

# All servers name the same members and the same prefix. Between machines use TLS, and a user of
# etcd for plugind alone:
#
#   endpoints     = ["https://etcd-1:2379", "https://etcd-2:2379", "https://etcd-3:2379"]
#   ca_file       = "etcd-ca.pem"
#   username      = "plugind"
#   password_file = "etcd.password"
store "etcd" {
  endpoints = ["127.0.46.1:2379", "127.0.46.2:2379", "127.0.46.3:2379"]
  prefix    = "plugind"
}
