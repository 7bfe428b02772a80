package lib.containers

import data.lib.images
import data.lib.pod

# Every container of the pod as {container, field}: an array, as a set would hash each container.
listed = [entry |
  field := ["containers", "initContainers", "ephemeralContainers"][_]
  container := pod.spec[field][_]
  entry := {"container": container, "field": field}
]

# Those which neither excludedContainers nor excludedImages exempts.
checked = [entry |
  entry := listed[_]
  not excluded(entry.container)
]

# Of those, the ones that run as long as the pod: only they may have probes and hooks.
lasting = [entry |
  entry := checked[_]
  lasts(entry)
]

lasts(entry) {
  entry.field == "containers"
}

# An init container with this policy is a sidecar.
lasts(entry) {
  entry.container.restartPolicy == "Always"
}

# What the whole pod shares is exempt only if each of its containers is.
pod_excluded {
  count(listed) > 0
  count(checked) == 0
}

excluded(container) {
  container.name == input.parameters.excludedContainers[_]
}

excluded(container) {
  excluded_image(container)
}

excluded_image(container) {
  images.matches(images.of(container), input.parameters.excludedImages[_])
}
