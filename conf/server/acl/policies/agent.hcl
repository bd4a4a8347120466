# For the agents: lets them report plugins of type csi.

namespace "default" {
  capabilities = ["csi-register-plugin"]
}
