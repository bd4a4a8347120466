# The agent of a machine: it reports to one of the servers, or to the next if that one is down.

data_dir = "/var/lib/plugind"

client {
  enabled = true
  servers = ["http://127.0.46.1:4646", "http://127.0.46.2:4646", "http://127.0.46.3:4646"]

  # datacenter = "dc1"
}
