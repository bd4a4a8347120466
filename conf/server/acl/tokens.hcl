# Tokens, as 'plugind acl token create' prints them. Begin with one that may do everything:
#
#   plugind acl token create --type management --name operator
#
# Append what it prints; the secret itself is shown only once and stands in no file.
