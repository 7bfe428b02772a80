package container_no_privilege_escalation

import data.lib.containers
import data.lib.pod

violation[{"msg": msg}] {
  not pod.windows
  container := containers.checked[_].container
  not container.securityContext.allowPrivilegeEscalation == false
  not tolerated(container)
  msg := sprintf("Container %v must set securityContext.allowPrivilegeEscalation to false.", [container.name])
}

# Unless forced, a user other than root stands in for an unset field; an explicit true is never right.
tolerated(container) {
  not input.parameters.forcePrivilegeEscalationToBeFalse == true
  not container.securityContext.allowPrivilegeEscalation == true
  container.securityContext.runAsUser > 0
}
