# An agent: watches the plugins of its machine and reports them. It listens on nothing.
#
#   plugind agent --config conf/agent

# This node's ID and secret. Keep it: a node that loses them is another node to the server.
data_dir = "/var/lib/plugind"

# What people see the node as; the default is the host's name.
# name = "machine-7"

client {
  enabled = true

  # The next one is tried when one is away. The default is ["http://127.0.0.1:4646"].
  servers = ["http://plugind-1.internal:4646", "http://plugind-2.internal:4646"]

  # datacenter = "dc1"

  # A class of machines, and names and texts of your own: both stand in the node's answers.
  # node_class = ""
  #
  #   meta {
  #     rack = "r7"
  #   }

  # This node's address, HOST or HOST:PORT. The default is the one from which it reaches the server.
  #   advertise = "10.0.0.7"

  # Whether this node and its plugins leave the catalogue when the agent is ended (SIGTERM, SIGINT).
  # Otherwise they stay expected, and are shown as silent after the server's heartbeat_ttl.
  # leave_on_terminate = false

  # No default for any: without them no token is sent, https servers are trusted as the machine
  # trusts others, and those that require a client certificate refuse this agent.
  # token_file = "/etc/plugind/agent.token"
  # ca_file    = "/etc/plugind/ca.pem"
  # cert_file  = "/etc/plugind/agent.crt"
  # key_file   = "/etc/plugind/agent.key"
}

# How a plugin type finds and asks its plugins.
plugin_type "csi" {
  # How often each plugin is probed.
  # probe_interval = "1500ms"

  # How long a probe may take before the plugin is shown as unhealthy.
  # probe_timeout = "3s"

  # How many probes in a row must fail until what was healthy is unhealthy. With 1 a dead driver is
  # seen within a second; with more, that many intervals later.
  # unhealthy_after = 1

  # Bytes of memory beyond which the process that probes is started anew; 0: no limit.
  # memory_limit = 536870912

  # How many instances are reported at most, of all plugins of this type together.
  # max_instances = 1000

  # Where drivers' sockets are: by default in /run/csi, and where Nomad's clients and kubelets keep
  # theirs. To look elsewhere instead:
  #
  #   sockets = ["/srv/csi/*.sock"]
  #
  # A driver by itself, by the ID of its plugin; without a role it is asked for its halves. How it
  # is probed may differ from the others:
  #
  #   instance "nfs" {
  #     endpoint        = "unix:///srv/nfs/csi.sock"
  #     role            = "node"
  #     probe_interval  = "10s"
  #     probe_timeout   = "20s"
  #     unhealthy_after = 3
  #   }
}

# CNI's executables, and the networks that are configured with them; see docs/plugin-types/cni.md.
plugin_type "cni" {
  # Where executables are; each of them is run, to be asked which versions it supports.
  # bin_dirs = ["/opt/cni/bin", "/usr/lib/cni"]

  # Where networks' configurations are.
  # conf_dir = "/etc/cni/net.d"
}

# Programs that check something, such as Nagios' checks; see docs/plugin-types/exec.md.
#
#   plugin_type "exec" {
#     check "disk" {
#       command        = ["/usr/lib/nagios/plugins/check_disk", "-w", "10%", "-c", "5%"]
#       probe_interval = "1m"
#     }
#   }
