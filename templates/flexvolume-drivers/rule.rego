package flexvolume_drivers

import data.lib.pod
import data.lib.request

violation[{"msg": msg}] {
  volume := pod.spec.volumes[_]
  volume.flexVolume
  not allowed(volume)
  msg := sprintf(
    "FlexVolume %v is not allowed, pod: %v. Allowed drivers: %v",
    [volume, request.name, input.parameters.allowedFlexVolumeDrivers],
  )
}

allowed(volume) {
  volume.flexVolume.driver == input.parameters.allowedFlexVolumeDrivers[_]
}
