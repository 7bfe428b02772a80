package lib.images

# A `*` at the pattern's end takes any rest; elsewhere it is a character like others.
matches(image, pattern) {
  endswith(pattern, "*")
  startswith(image, trim_suffix(pattern, "*"))
}

matches(image, pattern) {
  image == pattern
}
