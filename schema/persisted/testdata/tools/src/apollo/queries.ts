import { gql } from "@apollo/client";

export const AUTHOR = gql`
  fragment Author on User {
    id
    name
  }
`;

// Comments, other quotes, and an argument that the printer writes in its own way.
export const POSTS = gql`
  # the front page
  query Posts($first: Int = 5) {
    posts(first: $first) { title, author { ...Author } }
  }
  ${AUTHOR}
`;

export const USER = gql`
  query User($id: ID!) {
    user(id: $id) {
      ...Author
      latest: posts(first: 1) { title }
    }
  }
  ${AUTHOR}
`;

export const RENAME = gql`
  mutation Rename($id: ID!, $name: String!) {
    rename(id: $id, name: $name) { name }
  }
`;
