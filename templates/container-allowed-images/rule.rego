package container_allowed_images

import data.lib.containers

# Without the parameter every image is allowed, with an expression that cannot be read none.
violation[{"msg": msg}] {
  container := containers.without_ephemeral[_]
  not regex.match(input.parameters.imageRegex, container.image)
  msg := sprintf("Container image %v for container %v has not been allowed.", [container.image, container.name])
}
