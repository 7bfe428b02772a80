package lib.selinux

import data.lib.containers
import data.lib.pod

# The SELinux options that the pod and its containers set, as {who, options}.
asked = array.concat(
  [{"who": "The pod", "options": options} |
    not containers.pod_excluded
    options := written(pod.spec.securityContext)
  ],
  [{"who": sprintf("Container %v", [container.name]), "options": options} |
    container := containers.checked[_].container
    options := written(container.securityContext)
  ],
)

# Empty text is as good as not set.
written(context) = options {
  options := {field: value | value := context.seLinuxOptions[field]; value != null; value != ""}
  count(options) > 0
}

# Whether one entry of the list has all that is set, with the same values.
listed(options, entries) {
  entry := entries[_]
  count([field | value := options[field]; not entry[field] == value]) == 0
}
