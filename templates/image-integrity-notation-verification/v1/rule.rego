package image_integrity_notation_verification

import data.lib.containers
import data.lib.images

# One question about all images: the provider may ask a registry for each.
names = sort({image |
  image := images.of(containers.checked[_].container)
  image != ""
})

provider = "ratify-provider"

answer = external_data({"provider": provider, "keys": names}) {
  count(names) > 0
}

violation[{"msg": msg}] {
  answer.system_error != ""
  msg := sprintf("Images %v cannot be verified by provider %v: %v.", [names, provider, answer.system_error])
}

violation[{"msg": msg}] {
  [image, error] := answer.errors[_]
  msg := sprintf("Image %v cannot be verified: %v.", [image, error])
}

violation[{"msg": msg}] {
  [image, verdict] := answer.responses[_]
  not verdict.isSuccess == true
  msg := sprintf("Image %v must have a valid Notation signature.", [image])
}
