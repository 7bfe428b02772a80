package allowed_volume_types

import data.lib.pod
import data.lib.volumes

allowed = {type | type := input.parameters.volumes[_]}

violation[{"msg": msg}] {
  not allowed["*"]
  volume := pod.spec.volumes[_]
  type := types(volume)[_]
  not allowed[type]
  not volumes.let_be(volume.name)
  msg := sprintf("Volume %v must not be of type %v; allowed: %v.", [volume.name, type, sort(allowed)])
}

# A volume that names no source is an emptyDir.
types(volume) = named {
  named := [type | source := volume[type]; type != "name"; source != null]
  count(named) > 0
} else = ["emptyDir"]
