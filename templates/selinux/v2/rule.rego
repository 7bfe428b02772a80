package selinux

import data.lib.selinux

violation[{"msg": msg}] {
  setting := selinux.asked[_]
  not selinux.listed(setting.options, allowed_options)
  msg := sprintf("%v must not set the SELinux options %v; allowed: %v.", [setting.who, setting.options, allowed_options])
}

default allowed_options = []

allowed_options = input.parameters.allowedSELinuxOptions
