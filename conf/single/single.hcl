# One machine: the server and the agent in one process.
#
#   plugind agent --config conf/single
#
# Each setting is shown with its default in a comment; those that are not commented out differ from
# their defaults.
# Flags (--ports-http 5646) and variables (PLUGIND_PORTS_HTTP=5646) win over files.

# A folder for data that must survive a restart: the catalogue, this node's ID and secret. It has no
# default. Relative paths are relative to the file that contains them.
data_dir = "/var/lib/plugind"

# Only clients on this machine can connect. With "0.0.0.0" any client that reaches this machine can.
# bind_addr = "127.0.0.1"

# DEBUG, INFO, WARN or ERROR.
# log_level = "INFO"

ports {
  # The same port as Nomad's, so that Nomad's tools find plugind. 0 takes any free port.
  # http = 4646
}

server {
  enabled = true

  # A node that is not heard from for this time is shown as down, and its plugins as unhealthy; it may
  # take up to 20 % longer.
  # heartbeat_ttl = "30s"

  # How long a missing instance stays listed before it is forgotten.
  # gc_threshold = "24h"
}

client {
  enabled = true

  # Where the agent reports to: the server in this same process.
  # servers = ["http://127.0.0.1:4646"]
}

# How many instances of a plugin are expected, so that an instance that never appeared is shown as
# missing.
#
#   plugin "csi" "aws-ebs0" {
#     controllers_expected = 1
#     nodes_expected       = 1
#   }
