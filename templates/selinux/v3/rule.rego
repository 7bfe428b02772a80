package selinux

import data.lib.pod
import data.lib.selinux

violation[{"msg": msg}] {
  not pod.windows
  input.parameters.enforcePSS == true
  set := selinux.settings[_]
  not standard(set.options)
  msg := sprintf(
    "SELinux options is not allowed, %v. No user or role is allowed; allowed types: %v",
    [set.place, allowed_types],
  )
}

violation[{"msg": msg}] {
  not pod.windows
  not input.parameters.enforcePSS == true
  set := selinux.settings[_]
  not selinux.listed(set.options, input.parameters.allowedSELinuxOptions)
  msg := sprintf(
    "SELinux options is not allowed, %v. Allowed options: %v",
    [set.place, input.parameters.allowedSELinuxOptions],
  )
}

allowed_types = object.get(input.parameters, "allowedSELinuxTypes", [])

# Pod Security Standards, baseline: no user, no role, one of some types.
standard(options) {
  object.get(options, "user", "") == ""
  object.get(options, "role", "") == ""
  type_allowed(object.get(options, "type", ""))
}

type_allowed("")

type_allowed(type) {
  type == allowed_types[_]
}
