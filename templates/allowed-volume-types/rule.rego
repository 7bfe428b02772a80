package allowed_volume_types

import data.lib.pod
import data.lib.request

# Each field of a volume besides its name is a type; whether anything mounts the volume does not count.
violation[{"msg": msg}] {
  not allowed("*")
  _ = pod.spec.volumes[_][type]
  type != "name"
  not allowed(type)
  msg := sprintf(
    "The volume type %v is not allowed, pod: %v. Allowed volume types: %v",
    [type, request.name, input.parameters.volumes],
  )
}

allowed(type) {
  type == input.parameters.volumes[_]
}
