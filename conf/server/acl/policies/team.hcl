# For people who run jobs in Nomad: the same file can be used by both Nomad and plugind.

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
