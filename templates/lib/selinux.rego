package lib.selinux

import data.lib.containers
import data.lib.pod
import data.lib.request

# What the pod and its containers set, as {place, options}. Excluded images free containers only.
settings = array.concat(
  [{"place": place, "options": options} |
    options := pod.spec.securityContext.seLinuxOptions
    place := sprintf("pod: %v", [request.name])
  ],
  [{"place": place, "options": options} |
    container := containers.all[_]
    not containers.excluded_by_image(container)
    options := container.securityContext.seLinuxOptions
    place := sprintf("pod: %v, container %v", [request.name, container.name])
  ],
)

# Whether one entry has every option that is set, with the same value.
listed(options, entries) {
  object.subset(entries[_], options)
}
