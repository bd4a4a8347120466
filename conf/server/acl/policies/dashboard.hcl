# For dashboards and monitoring: lets them look at plugins of every type, and at nodes.

plugin {
  policy = "read"
}

node {
  policy = "read"
}
