package forbidden_sysctl_interfaces

import data.lib.request
import data.lib.sysctls

forbidden_sysctls = input.parameters.forbiddenSysctls

violation[{"msg": msg}] {
  name := sysctls.names[_]
  forbidden(name)
  msg := sprintf("The sysctl %v is not allowed, pod: %v. Forbidden sysctls: %v", [name, request.name, forbidden_sysctls])
}

# Every entry is a prefix, with `*` at an end or without.
forbidden(name) {
  startswith(sysctls.dotted(name), sysctls.dotted(trim(forbidden_sysctls[_], "*")))
}
