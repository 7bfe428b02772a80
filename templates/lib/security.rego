package lib.security

import data.lib.pod

# A field of the container's security context, else of the pod's.
setting(container, field) = value {
  value := container.securityContext[field]
} else = value {
  value := pod.spec.securityContext[field]
}

# Whether the container may gain privileges: it says so, or says nothing and runs as a user other than root.
escalates(container) {
  allows_escalation(container) == true
}

escalates(container) {
  allows_escalation(container) == "not set"
  setting(container, "runAsUser") != 0
}

allows_escalation(container) = object.get(container, ["securityContext", "allowPrivilegeEscalation"], "not set")
