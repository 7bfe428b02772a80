package selinux

import data.lib.selinux

pss {
  input.parameters.enforcePSS == true
}

violation[{"msg": msg}] {
  pss
  setting := selinux.asked[_]
  value := setting.options[field]
  {"user", "role"}[field]
  msg := sprintf("%v must not set the SELinux %v %v: no %v may be set.", [setting.who, field, value, field])
}

violation[{"msg": msg}] {
  pss
  setting := selinux.asked[_]
  type := setting.options.type
  not allowed_types[type]
  msg := sprintf("%v must not set the SELinux type %v; allowed: %v.", [setting.who, type, sort(allowed_types)])
}

violation[{"msg": msg}] {
  not pss
  setting := selinux.asked[_]
  not selinux.listed(setting.options, allowed_options)
  msg := sprintf("%v must not set the SELinux options %v; allowed: %v.", [setting.who, setting.options, allowed_options])
}

allowed_types = {type | type := input.parameters.allowedSELinuxTypes[_]}

default allowed_options = []

allowed_options = input.parameters.allowedSELinuxOptions
