# A server for a fleet: agents on other machines report to it.
#
#   plugind agent --config conf/server

data_dir = "/var/lib/plugind"

# Agents must be able to reach it; the default is "127.0.0.1".
bind_addr = "0.0.0.0"

# The region that is served; Nomad's tools ask for "global" by default.
# region = "global"

# Lines of JSON, for programs that gather logs.
# log_json = false

ports {
  # http = 4646
}

# The address under which others reach the server, HOST or HOST:PORT. The default is the address that is
# listened on; where that is 0.0.0.0, the one of this host's default route.
#
#   advertise {
#     http = "10.0.0.5"
#   }

server {
  enabled = true

  # A node that is not heard for so long is shown as down, and its plugins as unhealthy; at most
  # 20 % more may pass. At least "1s".
  # heartbeat_ttl = "30s"

  # How long what is gone stays listed before it is forgotten.
  # gc_threshold = "24h"

  # How many blocking queries may wait at once; more are answered 429 with Retry-After.
  # max_parked = 200

  # A line of JSON for each request: who asked, for what, and which rule decided.
  # access_log = "/var/log/plugind/access.log"
}

# Who may do what: docs/acl.md. Without this everybody may do everything.
#   acl {
#     enabled  = true
#     policies = "acl/policies"
#     tokens   = "acl/tokens.hcl"
#   }

# Metrics for Prometheus: docs/metrics.md. Public ones have no names of plugins and nodes.
metrics {
  # public = false
  # instances = "unhealthy"
}

# The embedded store: one SQLite file in data_dir.
store "sqlite" {}

# The plugin types in use; by default all that are installed.
plugin_types {
  # disabled = []
}

# What the fleet should have. Expected are a type's roles, in the plural.
plugin "csi" "aws-ebs0" {
  controllers_expected = 3
  nodes_expected       = 16
}
