"""Day-two commands: what a person or a workflow runs around ``pulumi up``. Nothing here declares a resource."""
