# One machine: the server and the agent in one process.
#
#   plugind agent --config conf/single
#
# Each setting is shown with its default in a comment; what is not commented out differs from it.
# Flags (--ports-http 5646) and variables (PLUGIND_PORTS_HTTP=5646) win over files.

# What must outlive a restart: the catalogue, this node's ID and secret. No default.
# Relative paths count from the file that they stand in.
data_dir = "/var/lib/plugind"

# Only this machine may ask. "0.0.0.0" lets all that can reach it.
# bind_addr = "127.0.0.1"

# DEBUG, INFO, WARN or ERROR.
# log_level = "INFO"

ports {
  # The same port as Nomad's, so that Nomad's tools find plugind. 0 takes any free one.
  # http = 4646
}

server {
  enabled = true

  # A node that is not heard for so long is shown as down, and its plugins as unhealthy; at most
  # 20 % more may pass.
  # heartbeat_ttl = "30s"

  # How long what is gone stays listed before it is forgotten.
  # gc_threshold = "24h"
}

client {
  enabled = true

  # Where the agent reports to: the server in this very process.
  # servers = ["http://127.0.0.1:4646"]
}

# What is expected of a plugin, so that an instance that never came is seen as missing.
#
#   plugin "csi" "aws-ebs0" {
#     controllers_expected = 1
#     nodes_expected       = 1
#   }
