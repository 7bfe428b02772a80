package lib.security

import data.lib.pod

# A field of the container's security context, else of the pod's; null counts as not set.
setting(container, field) = value {
  value := container.securityContext[field]
  value != null
} else = value {
  value := pod.spec.securityContext[field]
  value != null
}
