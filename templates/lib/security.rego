package lib.security

import data.lib.pod

# A field of the container's security context, else of the pod's.
setting(container, field) = value {
  value := container.securityContext[field]
} else = value {
  value := pod.spec.securityContext[field]
}
