import { graphql } from "./gql";

export const Author = graphql(`
  fragment CodegenAuthor on User {
    name
  }
`);

export const Posts = graphql(`
  query CodegenPosts($first: Int = 5) {
    posts(first: $first) {
      title
      author {
        ...CodegenAuthor
      }
    }
  }
`);

export const Rename = graphql(`
  mutation CodegenRename($id: ID!, $name: String!) {
    rename(id: $id, name: $name) {
      name
    }
  }
`);
