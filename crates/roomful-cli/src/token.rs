//! `roomful token`: makes a client token and prints it.

use crate::{
    api::{Api, TokenRequest},
    cli::TokenArgs,
    failure::Failure,
    output::{self, Target},
};

/// Makes the token. It alone goes to stdout, so that scripts can take it.
pub(crate) async fn run(args: &TokenArgs) -> Result<(), Failure> {
    let api = Api::new(&args.room.server.server)?;
    let room = api.room(&args.room.room).await?;
    let request = TokenRequest { identity: args.identity.as_deref(), ttl: Some(args.ttl) };
    let token = api.token(room.id, request).await?;
    Target::Stdout.line(&token.token);
    let made = if room.is_new { ", which was made just now" } else { "" };
    output::note(&format!(
        "joins room {}{made}, with id {}, until {}",
        args.room.room, room.id, token.expires_at
    ));
    Ok(())
}
