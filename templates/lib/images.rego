package lib.images

# The container's image, empty if it has none: pod templates may leave it to a mutator.
of(container) = image {
  image := container.image
  is_string(image)
} else = ""

# A `*` at the pattern's end takes any rest; elsewhere it is a character like others.
matches(image, pattern) {
  endswith(pattern, "*")
  startswith(image, trim_suffix(pattern, "*"))
}

matches(image, pattern) {
  image == pattern
}

# What an image's name says, as {registry, repository, tag, digest}; a first part with a dot or a port is a registry.
parts(image) = named {
  found := regex.find_all_string_submatch_n(reference, image, 1)[0]
  named := {"registry": found[1], "repository": found[2], "tag": found[3], "digest": found[4]}
}

reference = `^(?:([^/@]*[.:][^/@]*|localhost)/)?([^:@]*)(?::([^@]*))?(?:@(.*))?$`

# Whether the image names the tag latest, or neither tag nor digest, which means latest.
latest(image) {
  parts(image).tag == "latest"
}

latest(image) {
  named := parts(image)
  named.repository != ""
  named.tag == ""
  named.digest == ""
}
