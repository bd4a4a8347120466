# For people who run jobs in Nomad: one file may serve Nomad and plugind.

namespace "default" {
  policy       = "read"
  capabilities = ["submit-job", "read-logs", "csi-mount-volume"]
}

namespace "secret-*" {
  policy = "deny"
}

host_volume "data-*" {
  policy = "write"
}

agent {
  policy = "read"
}
