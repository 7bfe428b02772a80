package allowed_sysctl_interfaces

import data.lib.pod
import data.lib.sysctls

default allowed_sysctls = []

allowed_sysctls = input.parameters.allowedSysctls

violation[{"msg": msg}] {
  name := pod.spec.securityContext.sysctls[_].name
  not allowed(name)
  msg := sprintf("The pod must not set the sysctl %v; allowed: %v.", [name, allowed_sysctls])
}

allowed(name) {
  sysctls.matches(name, allowed_sysctls[_])
}
