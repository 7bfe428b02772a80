package container_no_privilege_escalation

import data.lib.containers
import data.lib.pod
import data.lib.security

violation[{"msg": msg}] {
  not pod.windows
  container := containers.all[_]
  not containers.excluded(container)
  security.escalates(container)
  msg := sprintf("Privilege escalation container is not allowed: %v", [container.name])
}
