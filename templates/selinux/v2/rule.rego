package selinux

import data.lib.pod
import data.lib.selinux

violation[{"msg": msg}] {
  not pod.windows
  set := selinux.settings[_]
  not selinux.listed(set.options, input.parameters.allowedSELinuxOptions)
  msg := sprintf(
    "SELinux options is not allowed, %v. Allowed options: %v",
    [set.place, input.parameters.allowedSELinuxOptions],
  )
}
