package container_allowed_images

import data.lib.containers
import data.lib.images

violation[{"msg": msg}] {
  container := containers.checked[_].container
  image := images.of(container)
  not regex.match(input.parameters.imageRegex, image)
  msg := sprintf("Container image %v for container %v has not been allowed.", [image, container.name])
}
