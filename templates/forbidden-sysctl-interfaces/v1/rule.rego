package forbidden_sysctl_interfaces

import data.lib.pod
import data.lib.sysctls

violation[{"msg": msg}] {
  name := pod.spec.securityContext.sysctls[_].name
  forbidden := [pattern | pattern := input.parameters.forbiddenSysctls[_]; sysctls.matches(name, pattern)]
  count(forbidden) > 0
  msg := sprintf("The pod must not set the sysctl %v; forbidden: %v.", [name, forbidden])
}
