package container_no_latest_image

import data.lib.containers

violation[{"msg": msg}] {
  container := containers.all[_]
  latest(object.get(container, "image", ""))
  msg := sprintf(
    "Please specify an explicit version such as '1.0'. Using the latest tag for container %v makes its version unclear.",
    [container.name],
  )
}

# Neither a tag nor a digest means latest.
latest(image) {
  not contains(image, ":")
}

latest(image) {
  endswith(image, ":latest")
}
