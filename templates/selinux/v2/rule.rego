package selinux

import data.lib.containers
import data.lib.pod

violation[{"msg": msg}] {
  not containers.pod_excluded
  options := set_options(pod.spec.securityContext)
  not allowed(options)
  msg := sprintf("The pod must not set the SELinux options %v.", [options])
}

violation[{"msg": msg}] {
  container := containers.checked[_].container
  options := set_options(container.securityContext)
  not allowed(options)
  msg := sprintf("Container %v must not set the SELinux options %v.", [container.name, options])
}

# Empty text is as good as not set.
set_options(context) = options {
  options := {field: value | value := context.seLinuxOptions[field]; value != null; value != ""}
  count(options) > 0
}

allowed(options) {
  entry := input.parameters.allowedSELinuxOptions[_]
  count([field | value := options[field]; not entry[field] == value]) == 0
}
