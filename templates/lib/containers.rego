package lib.containers

import data.lib.images
import data.lib.pod

# The pod's containers: arrays, as a set would hash each container.
all = of(pod.spec, ["containers", "initContainers", "ephemeralContainers"])

without_ephemeral = of(pod.spec, ["containers", "initContainers"])

of(spec, fields) = [container | container := spec[fields[_]][_]]

# What a rule leaves out. Each rule says which of the three holds for it, as not every template knows both parameters.
excluded(container) {
  excluded_by_name(container)
}

excluded(container) {
  excluded_by_image(container)
}

excluded_by_name(container) {
  container.name == input.parameters.excludedContainers[_]
}

# A container without image is never excluded.
excluded_by_image(container) {
  images.matches(container.image, input.parameters.excludedImages[_])
}

# What belongs to the whole pod is judged unless each container's image is excluded.
pod_judged {
  container := all[_]
  not excluded_by_image(container)
}
