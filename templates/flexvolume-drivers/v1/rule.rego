package flexvolume_drivers

import data.lib.pod

allowed = {driver | driver := input.parameters.allowedFlexVolumeDrivers[_]}

violation[{"msg": msg}] {
  volume := pod.spec.volumes[_]
  driver := volume.flexVolume.driver
  not allowed[driver]
  msg := sprintf("Volume %v must not use the FlexVolume driver %v; allowed: %v.", [volume.name, driver, sort(allowed)])
}
