# An agent: watches the plugins of its machine and reports them. It opens no port.
#
#   plugind agent --config conf/agent

# For this node's ID and secret. Keep them: without them the server takes this node for another one.
data_dir = "/var/lib/plugind"

# The node's name for people; the default is the host's name.
# name = "machine-7"

client {
  enabled = true

  # If one cannot be reached, the next one is tried. The default is ["http://127.0.0.1:4646"].
  servers = ["http://plugind-1.internal:4646", "http://plugind-2.internal:4646"]

  # datacenter = "dc1"

  # A class of machines, and names and texts of your own: the API shows both with the node.
  # node_class = ""
  #
  #   meta {
  #     rack = "r7"
  #   }

  # This node's address, HOST or HOST:PORT. The default is the one from which it reaches the server.
  #   advertise = "10.0.0.7"

  # Whether this node and its plugins leave the catalogue when the agent is ended (SIGTERM, SIGINT).
  # Otherwise they stay expected, and the node is down after the server's heartbeat_ttl.
  # leave_on_terminate = false

  # None of these has a default. Without them no token is sent, https servers are verified with the
  # default certificate authorities, and servers that require a client certificate refuse this agent.
  # token_file = "/etc/plugind/agent.token"
  # ca_file    = "/etc/plugind/ca.pem"
  # cert_file  = "/etc/plugind/agent.crt"
  # key_file   = "/etc/plugind/agent.key"
}

# How a plugin type finds and probes its plugins.
plugin_type "csi" {
  # How often each plugin is probed.
  # probe_interval = "1500ms"

  # How long a probe may take before the plugin is shown as unhealthy.
  # probe_timeout = "3s"

  # How many probes in a row must fail until a healthy instance is unhealthy. With 1 a dead driver is
  # noticed within a second; with more, that many intervals later.
  # unhealthy_after = 1

  # Bytes of memory beyond which the process that probes is restarted; 0: no limit.
  # memory_limit = 536870912

  # How many instances are reported at most, of all plugins of this type together.
  # max_instances = 1000

  # Where to look for drivers' sockets: by default in /run/csi, and where Nomad's clients and kubelets
  # keep theirs. To look elsewhere instead:
  #
  #   sockets = ["/srv/csi/*.sock"]
  #
  # A single driver, by the ID of its plugin; without a role the driver is asked which halves it has.
  # It may be probed in a different way from the others:
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
  # Where executables are; those that networks need are run, to ask which versions they support.
  # bin_dirs = ["/opt/cni/bin", "/usr/lib/cni"]

  # Where networks' configurations are.
  # conf_dir = "/etc/cni/net.d"
}

# Programs that check something, such as Nagios checks; see docs/plugin-types/exec.md.
#
#   plugin_type "exec" {
#     check "disk" {
#       command        = ["/usr/lib/nagios/plugins/check_disk", "-w", "10%", "-c", "5%"]
#       probe_interval = "1m"
#     }
#   }
