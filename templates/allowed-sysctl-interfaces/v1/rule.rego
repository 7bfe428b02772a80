package allowed_sysctl_interfaces

import data.lib.images
import data.lib.pod
import data.lib.request
import data.lib.sysctls

allowed_sysctls = object.get(input.parameters, "allowedSysctls", [])

violation[{"msg": msg}] {
  not pod.windows
  name := sysctls.names[_]
  not allowed(name)
  msg := sprintf("The sysctl %v is not allowed, pod: %v. Allowed sysctls: %v", [name, request.name, allowed_sysctls])
}

allowed(name) {
  images.matches(sysctls.dotted(name), sysctls.dotted(allowed_sysctls[_]))
}
