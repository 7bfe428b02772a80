package container_no_privilege_escalation

import data.lib.containers
import data.lib.pod
import data.lib.security

violation[{"msg": msg}] {
  not pod.windows
  container := containers.all[_]
  security.escalates(container)
  not containers.excluded(container)
  msg := sprintf("Privilege escalation container is not allowed: %v", [container.name])
}
