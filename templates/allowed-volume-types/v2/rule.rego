package allowed_volume_types

import data.lib.containers
import data.lib.pod
import data.lib.request

mounted = {name |
  container := containers.all[_]
  not containers.excluded_by_image(container)
  name := container.volumeMounts[_].name
}

# Each field of a mounted volume besides its name is a type.
violation[{"msg": msg}] {
  not allowed("*")
  volume := pod.spec.volumes[_]
  _ = volume[type]
  type != "name"
  not allowed(type)
  mounted[volume.name]
  msg := sprintf(
    "The volume type %v is not allowed, pod: %v. Allowed volume types: %v",
    [type, request.name, input.parameters.volumes],
  )
}

allowed(type) {
  type == input.parameters.volumes[_]
}
