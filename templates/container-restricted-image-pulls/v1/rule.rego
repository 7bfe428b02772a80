package container_restricted_image_pulls

import data.lib.containers
import data.lib.images
import data.lib.pod

violation[{"msg": msg}] {
  not has_secret
  container := containers.checked[_].container
  msg := sprintf("Container %v must not pull image %v: its pod has no imagePullSecrets.", [container.name, images.of(container)])
}

has_secret {
  pod.spec.imagePullSecrets[_].name != ""
}
