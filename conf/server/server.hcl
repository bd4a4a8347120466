# A server for a fleet: agents on other machines report to it.
#
#   plugind agent --config conf/server

data_dir = "/var/lib/plugind"

# Agents must be able to reach it; the default is "127.0.0.1".
bind_addr = "0.0.0.0"

# The region that this server serves; Nomad's tools ask for "global" by default.
# region = "global"

# Whether log lines are JSON, for programs that collect logs.
# log_json = false

ports {
  # http = 4646
}

# The address at which others reach the server, HOST or HOST:PORT. The default is the address that the
# server listens on; if that is 0.0.0.0, the address of this host's default route.
#
#   advertise {
#     http = "10.0.0.5"
#   }

server {
  enabled = true

  # A node that is not heard from for this time is shown as down, and its plugins as unhealthy; it may
  # take up to 20 % longer. At least "1s".
  # heartbeat_ttl = "30s"

  # How long a missing instance stays listed before it is forgotten.
  # gc_threshold = "24h"

  # How many blocking queries may wait at once; further ones are answered 429 with Retry-After.
  # max_parked = 200

  # A file with a line of JSON for each request: who made it, for what, and which rule decided.
  # access_log = "/var/log/plugind/access.log"
}

# Who may do what: docs/acl.md. Without this block any client may do everything.
#   acl {
#     enabled  = true
#     policies = "acl/policies"
#     tokens   = "acl/tokens.hcl"
#   }

# Metrics for Prometheus: docs/metrics.md. Public metrics contain no names of plugins and nodes.
metrics {
  # public = false
  # instances = "unhealthy"
}

# The embedded store: one SQLite file in data_dir.
store "sqlite" {}

# The plugin types to use; by default all that are installed.
plugin_types {
  # disabled = []
}

# What the fleet should have: the expected number of instances for each of the type's roles, named
# by the role's plural.
plugin "csi" "aws-ebs0" {
  controllers_expected = 3
  nodes_expected       = 16
}
