package container_no_latest_image

import data.lib.containers
import data.lib.images

violation[{"msg": msg}] {
  container := containers.checked[_].container
  image := images.of(container)
  images.latest(image)
  msg := sprintf("Container %v must name a version of its image %v: a tag other than latest, or a digest.", [container.name, image])
}
